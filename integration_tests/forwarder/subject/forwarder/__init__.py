"""A forwarder: watches EPICS process variables and sends their updates to Kafka as FlatBuffers messages."""
