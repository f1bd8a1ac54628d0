"""What little the paradigms train of their own, each by a recipe; the teacher itself is trained by `liveavatar.training`."""
