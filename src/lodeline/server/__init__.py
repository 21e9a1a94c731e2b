"""The service: OpenLineage in, answers out, over HTTP. Needs the extra `server`."""
