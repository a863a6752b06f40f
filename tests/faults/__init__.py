"""The fault matrix: injected faults, and the invariants that hold after each."""
