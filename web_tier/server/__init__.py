"""How the web tier holds its connections: gunicorn's asyncio worker in front of threads that run the application.

1. `protocol`: one connection. Bytes are read and written by the event loop, so a slow or silent client costs no thread.
2. `connections`: all connections. Who may stay, and who has to go when there are too many.
3. `bridge`: one request. A thread runs the application once the body is there, and between portions of the answer.
4. `streams`: event streams, asked in turn by a few threads.
5. `worker`: the process.
"""
