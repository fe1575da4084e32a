"""The commands of `launch/`, a module each: what the flags mean (`parser`), and what is printed (`main`)."""
