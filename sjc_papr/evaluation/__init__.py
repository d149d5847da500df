"""How close renders come to held-out images, during training and after it."""
