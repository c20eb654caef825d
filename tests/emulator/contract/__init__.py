"""One contract for all the ways in which the state is offered."""
