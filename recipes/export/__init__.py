"""Writing trained models in other forms."""
