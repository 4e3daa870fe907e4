"""Layer 2: the engine. It knows the ports and the policy, and no adapter."""
