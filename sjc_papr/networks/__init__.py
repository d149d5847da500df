"""The PAPR model and its renderer: points, nearest points, attention, UNet."""
