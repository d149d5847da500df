"""How close renders come to held-out pictures, during training and after it."""
