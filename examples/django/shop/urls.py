"""What there is to ask for."""

import os

from django.http import HttpRequest, JsonResponse
from django.urls import path


def fire(_: HttpRequest) -> JsonResponse:
    """Says which worker answered."""
    return JsonResponse({"fired": True, "worker": os.getpid()})


urlpatterns = [path("fire", fire, name="fire")]
