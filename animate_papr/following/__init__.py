"""How the points of one frame come to lie on the object of the next."""
