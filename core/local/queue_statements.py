"""The statements of the local queues. Each finds its messages by an index."""

from __future__ import annotations

SEND = "INSERT INTO messages (queue, sent_at, body) VALUES "
READY = """
    SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND hidden_until IS NULL)
        OR EXISTS (SELECT 1 FROM messages WHERE queue = ? AND hidden_until <= ?)
"""
BURY = """
    UPDATE messages SET queue = ?, hidden_until = NULL, receipt = NULL
    WHERE queue = ? AND hidden_until <= ? AND receive_count >= ?
"""
RETURN = "UPDATE messages SET hidden_until = NULL WHERE queue = ? AND hidden_until <= ?"
TAKE = """
    UPDATE messages SET hidden_until = ?, receive_count = receive_count + 1, receipt = ?
    WHERE id IN (SELECT id FROM messages WHERE queue = ? AND hidden_until IS NULL ORDER BY id LIMIT ?)
    RETURNING id, body, receive_count, sent_at
"""
DELETE = "DELETE FROM messages WHERE queue = ? AND receipt = ? AND id IN "
HIDE = "UPDATE messages SET hidden_until = ? WHERE queue = ? AND receipt = ? AND id IN "
PEEK = """
    SELECT * FROM (
        SELECT * FROM (
            SELECT id, body, receive_count, sent_at FROM messages
            WHERE queue = :name AND hidden_until IS NULL AND id > :after ORDER BY id LIMIT :limit
        ) UNION ALL
        SELECT id, body, receive_count, sent_at FROM messages
        WHERE queue = :name AND hidden_until <= :now AND id > :after
    ) ORDER BY id LIMIT :limit
"""
PEEK_DEAD = """
    SELECT id, body, min(receive_count, :max), sent_at FROM (
        SELECT * FROM (
            SELECT id, body, receive_count, sent_at FROM messages
            WHERE queue = :dead AND hidden_until IS NULL AND id > :after ORDER BY id LIMIT :limit
        ) UNION ALL
        SELECT id, body, receive_count, sent_at FROM messages
        WHERE queue = :dead AND hidden_until IS NOT NULL AND id > :after
        UNION ALL
        SELECT id, body, receive_count, sent_at FROM messages
        WHERE queue = :name AND hidden_until <= :now AND receive_count >= :max AND id > :after
    ) ORDER BY id LIMIT :limit
"""
EXHAUSTED = """
    SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND hidden_until <= ? AND receive_count >= ?)
"""
UNSWEPT = """
    SELECT id, body, receive_count, sent_at FROM messages
    WHERE queue = ? AND receive_count > 0 AND receipt IS NULL ORDER BY id LIMIT ?
"""
SWEPT = """
    SELECT id, body, receive_count, sent_at, receipt FROM messages
    WHERE queue = ? AND hidden_until IS NULL AND receipt IS NOT NULL AND id > ? ORDER BY id LIMIT ?
"""
MARK = "UPDATE messages SET receipt = ? WHERE queue = ? AND receive_count > 0 AND receipt IS NULL AND id IN "
COUNTS = """
    SELECT (SELECT waiting FROM message_counts WHERE queue = :name),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until > :now),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until <= :now AND receive_count < :max),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until <= :now AND receive_count >= :max),
           (SELECT waiting FROM message_counts WHERE queue = :dead),
           (SELECT count(*) FROM messages WHERE queue = :dead AND hidden_until IS NOT NULL)
"""
