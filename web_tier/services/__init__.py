"""What routes and the collector share: ingest, dispatch, the life of batches, serializers, the view of the fleet."""
