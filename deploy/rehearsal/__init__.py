"""`make rehearse`: what the README says about containers, done for real and timed."""
