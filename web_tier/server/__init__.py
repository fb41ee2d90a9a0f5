"""The HTTP server: gunicorn's asyncio worker in front of threads that run the WSGI application.

1. `protocol`: one connection. The event loop reads and writes its bytes, so a slow or silent client costs no thread.
2. `connections`: all connections, and which of them are closed when there are too many.
3. `bridge`: one request. A thread runs the application once the body is there, and makes each portion of the answer.
4. `streams`: event streams, which a few threads poll in turn.
5. `worker`: the process.
6. `host`: what several processes of one host share, in `host_memory` and `host_tables`.
"""
