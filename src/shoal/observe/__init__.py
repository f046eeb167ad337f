"""What operators see. Everything here is read when it is asked for; counting costs the hot path nothing."""
