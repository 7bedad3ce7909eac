"""A Django application under django-prometheus, in one file."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django_prometheus"],
    MIDDLEWARE=[
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
)


def fire(_request: HttpRequest) -> HttpResponse:
    """Counted by the middleware."""
    return HttpResponse("fired\n")


urlpatterns = [path("fire", fire, name="fire")]
app = get_wsgi_application()
