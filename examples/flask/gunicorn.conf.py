"""Four workers, and gunicorn's own statistics beside those of the application."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = 4
statsd_host = f"{os.environ.get('STATSD_HOST', '127.0.0.1')}:{os.environ.get('STATSD_PORT', '9125')}"
statsd_prefix = "shop"
