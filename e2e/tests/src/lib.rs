//! End-to-end tests against a real API server, a real cluster and the clients people have.
