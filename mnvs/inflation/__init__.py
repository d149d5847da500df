"""One picture → a round body → any view: geometry alone, without networks."""
