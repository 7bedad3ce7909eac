"""Settings; everything that has nothing to do with metrics is left out."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "only for the example")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
# First, so that it measures the others as well.
MIDDLEWARE = ["shop.metrics.measure", "django.middleware.common.CommonMiddleware"]
STATSD_HOST = os.environ.get("STATSD_HOST", "127.0.0.1")
STATSD_PORT = int(os.environ.get("STATSD_PORT", "9125"))
