"""The service: answers from the published bundle and the event store, over HTTP."""
