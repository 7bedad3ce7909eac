"""Four workers, each with an event loop of its own."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = 4
worker_class = "uvicorn_worker.UvicornWorker"
