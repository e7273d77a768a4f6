"""What a fit is reported with: figures, neighbours, a page, and a model card."""
