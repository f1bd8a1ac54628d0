"""The streaming rollout: levels, caches, rolling sink, conditions, the loop, and a session around them."""
