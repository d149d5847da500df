"""What the model shows from all around: its points' colours, and a surface that moves with them."""
