"""Everything that is known at the moment of asking, and the one builder of it."""
