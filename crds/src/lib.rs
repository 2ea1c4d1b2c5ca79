//! The resource types of trilobite.dev, and the pure planner that turns them into a node's desired state.
