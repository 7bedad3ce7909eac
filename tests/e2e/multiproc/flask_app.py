"""A Flask application under prometheus_flask_exporter."""

from flask import Flask
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

app = Flask(__name__)
# It serves no metrics: tallyd does.
metrics = GunicornPrometheusMetrics(app)


@app.get("/fire")
def fire() -> str:
    """Counted by the exporter."""
    return "fired\n"
