"""The Distributed Aggregation Protocol, with real clients, aggregators and collectors."""
