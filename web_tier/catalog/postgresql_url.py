"""Parse the setting web.catalog_url: libpq URLs, and SQLAlchemy's form for several hosts.

1. The grammar is libpq's: `postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&…`, where each component
   may have percent escapes. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
2. SQLAlchemy gives several hosts as `?host=HOST:PORT&host=HOST:PORT`; both forms have the same result.
3. libpq itself is asked which parameters there are, and which values they take.
4. An error message never repeats any text of the setting: a password with an unescaped @ or / may be parsed as a host,
   a port or a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from sqlalchemy import URL

from config.settings import BadSetting

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_ESCAPED = "in a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25"
_HOST = re.compile(r"[\w.-]+", re.UNICODE)
_SOCKET = re.compile(r"[/@][^,]*")
_OPTION = re.compile(r"--?[A-Za-z_][\w.-]*(=.*)?", re.DOTALL)
_WRITABLE = {"read-write": "read-write", "primary": "primary", "any": "primary"}
"""Permitted values of target_session_attrs. `any` of several servers could be a standby."""
_WHOLE_NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}


@dataclass(frozen=True, slots=True)
class _Host:
    name: str
    port: str = ""


def postgresql_url(text: str) -> URL:
    """Return the URL that `text` gives, with its password if it has one.

    Several hosts are in the query as for libpq: `host` and `port`, joined by commas. Raises BadSetting.
    """
    text = text.strip()
    scheme, _, rest = text.partition("://")
    if scheme not in _SCHEMES or "://" not in text:
        _refuse("it is not a URL of PostgreSQL")
    if not text.isprintable():
        _refuse("it has characters that a URL cannot have")
    user, password, rest = _credentials(rest)
    place, _, query = rest.partition("?")
    if "@" in place:
        _refuse(f"it has more than one @; {_ESCAPED}")
    authority, _, database = place.partition("/")
    values = _parameters(query)
    hosts = _hosts(_authority(authority), values)
    values = {"dbname": _decoded(database), "user": user, "password": password} | values
    values = {name: value for name, value in values.items() if value}
    if not (values.get("dbname") or values.get("service")):
        _refuse("it names no database")
    if "target_session_attrs" in values:
        values["target_session_attrs"] = _session(values["target_session_attrs"])
    elif len(hosts) > 1:
        values["target_session_attrs"] = "read-write"
    _check_by_libpq(values)
    return _made(hosts, values)


def _refuse(problem: str) -> NoReturn:
    raise BadSetting(
        f"setting web.catalog_url: {problem}; give a URL like postgresql://USER@HOST:5432/DATABASE, or leave it empty"
    )


def _credentials(rest: str) -> tuple[str, str, str]:
    """Return user, password and what follows them."""
    found = re.match(r"([^/@]*)@", rest)
    if found is None:
        return "", "", rest
    user, _, password = found[1].partition(":")
    if ":" in password:
        _refuse(f"it has more than one : before the @; {_ESCAPED}")
    return _decoded(user), _decoded(password), rest[found.end() :]


def _authority(text: str) -> list[_Host]:
    return [_host(part) for part in text.split(",")] if text else []


def _host(text: str) -> _Host:
    """Parse HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")) or not _is_address(_decoded(name)):
            _refuse("a host in brackets is not an IPv6 address")
        return _Host(_decoded(name), _port(port.removeprefix(":")))
    name, _, port = text.partition(":")
    return _Host(_host_name(_decoded(name)), _port(_decoded(port)))


def _host_of_query(text: str) -> _Host:
    """Parse a host of the query, where SQLAlchemy, unlike libpq, allows a port after it."""
    if text.startswith("["):
        return _host(text)
    if text.count(":") == 1 and not _SOCKET.fullmatch(text):
        name, _, port = text.partition(":")
        return _Host(_host_name(name), _port(port))
    return _Host(_host_name(text))


def _host_name(name: str) -> str:
    if name and not (_HOST.fullmatch(name) or _SOCKET.fullmatch(name) or _is_address(name)):
        _refuse(f"a host has characters that a host name cannot have; {_ESCAPED}")
    return name


def _port(text: str) -> str:
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65_535):
        _refuse(f"a port is not a number from 1 to 65535; {_ESCAPED}")
    return text


def _hosts(of_authority: list[_Host], values: dict[str, str]) -> list[_Host]:
    """Merge the hosts and ports of the query into those of the authority, over which they take precedence."""
    hosts = of_authority
    ports = [host.port for host in of_authority if host.port]
    if "host" in values:
        hosts = [_host_of_query(host) for host in values.pop("host").split(",")]
        if not any(host.port for host in hosts) and ports and len(set(ports)) == 1:
            hosts = [_Host(host.name, ports[0]) for host in hosts]
    if "port" in values:
        given = [_port(port) for port in values.pop("port").split(",")]
        hosts = hosts or [_Host("")]
        if len(given) == 1:
            given *= len(hosts)
        if len(given) != len(hosts):
            _refuse("the numbers of ports and hosts differ")
        hosts = [_Host(host.name, port) for host, port in zip(hosts, given, strict=True)]
    addresses = values.get("hostaddr", "")
    if addresses and len(hosts) > 1 and addresses.count(",") + 1 != len(hosts):
        _refuse("the numbers of addresses and hosts differ")
    return hosts


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for number, pair in enumerate(query.split("&") if query else (), start=1):
        name, equals, value = pair.partition("=")
        name = _decoded(name)
        if not equals:
            _refuse(f"parameter {number} of its query has no value")
        if name == "options":
            value = value.replace("+", " ")  # forms and SQLAlchemy write a space as +, libpq only as %20
        if name == "ssl" and value == "true":
            name, value = "sslmode", "require"  # libpq accepts this form of JDBC
        if name not in _known():
            near = get_close_matches(name, _known(), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            _refuse(f"PostgreSQL has no parameter of the name that parameter {number} of its query has{hint}")
        found.setdefault(name, []).append(_decoded(value))
    for name, given in found.items():
        if len(given) > 1 and name not in ("host", "port"):
            _refuse(f"the parameter {name} comes twice")
    values = {name: ",".join(given) for name, given in found.items()}
    _check_values(values)
    return values


def _known() -> Iterable[str]:
    from psycopg import pq

    return [option.keyword.decode() for option in pq.Conninfo.get_defaults()]


def _check_values(values: dict[str, str]) -> None:
    if values.get("replication", "") not in ("", "0", "off", "no", "false"):
        _refuse("the parameter replication is only for replicas of a server")
    if values.get("client_encoding", "").lower().replace("-", "") not in ("", "utf8", "auto"):
        _refuse("the parameter client_encoding can be UTF8 only")
    for name in _WHOLE_NUMBERS & values.keys():
        if not re.fullmatch(r"-?[0-9]{1,9}", values[name]):
            _refuse(f"the parameter {name} is not a whole number")
    for address in filter(None, values.get("hostaddr", "").split(",")):
        if not _is_address(address):
            _refuse("the parameter hostaddr is not an IP address")
    for option in _words(values.get("options", "")):
        if not _OPTION.fullmatch(option):
            _refuse("the parameter options does not have the form -c NAME=VALUE -c NAME=VALUE")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _words(options: str) -> list[str]:
    r"""Return each `-c NAME=VALUE` as `--NAME=VALUE`, other words unchanged. A backslash escapes a blank in a value."""
    words = re.findall(r"(?:\\.|[^\s\\])+", options, re.DOTALL)
    joined, rest = [], iter(words)
    for word in rest:
        if word.startswith("-c"):
            setting = word[2:] or next(rest, "")
            joined.append(f"--{setting}" if re.match(r"[A-Za-z_][\w.-]*=", setting) else "?")
        else:
            joined.append(word)
    return joined


def _session(wanted: str) -> str:
    if wanted not in _WRITABLE:
        _refuse("target_session_attrs can be read-write or primary: the catalogue is written")
    return _WRITABLE[wanted]


def _check_by_libpq(values: dict[str, str]) -> None:
    """Have libpq check the values without connecting: the host that it gets is impossible."""
    from psycopg import conninfo, pq

    tried = {name: value for name, value in values.items() if name not in ("hostaddr", "service", "servicefile")}
    try:
        # libpq refuses a socket path that is too long after it has checked all values, and before it opens anything.
        tried_at = conninfo.make_conninfo(**(tried | {"host": "/" + 200 * "x", "port": "1"})).encode()
        connection = pq.PGconn.connect_start(tried_at)
    except Exception:  # noqa: BLE001  # psycopg's message repeats the value
        _refuse("libpq cannot read its parameters")
    said = connection.error_message.decode(errors="replace")
    connection.finish()
    if "too long" in said or "xxxxx" in said:
        return
    names = [name for name in _known() if re.search(rf"\b{name}\b", said)]
    _refuse(f"the parameter {names[0]} has a value that libpq refuses" if names else "libpq refuses its parameters")


def _made(hosts: list[_Host], values: dict[str, str]) -> URL:
    rest = {name: value for name, value in values.items() if name not in ("user", "password", "dbname")}
    single = hosts[0] if len(hosts) == 1 else _Host("")
    if len(hosts) > 1:
        rest |= {"host": ",".join(host.name for host in hosts)}
        if any(host.port for host in hosts):
            rest |= {"port": ",".join(host.port for host in hosts)}
    elif single.name.startswith(("/", "@")):
        rest |= {"host": single.name}
    return URL.create(
        "postgresql+psycopg",
        username=values.get("user"),
        password=values.get("password"),
        host=single.name if single.name and "host" not in rest else None,
        port=int(single.port) if single.port else None,
        database=values.get("dbname"),
        query=rest,
    )


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        _refuse(f"a % is not followed by two digits from 0 to F; {_ESCAPED}")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError:
        _refuse("its escapes are not UTF-8")
    if "\0" in decoded:
        _refuse("it has a character that a URL cannot have")
    return decoded
