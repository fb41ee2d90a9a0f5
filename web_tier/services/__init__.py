"""Services that routes and the collector share: ingest, dispatch, batch lifecycle, serializers, fleet view."""
