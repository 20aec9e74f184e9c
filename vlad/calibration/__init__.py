"""From scores to decisions: where to cut, how sure to be, and when to say nothing."""
