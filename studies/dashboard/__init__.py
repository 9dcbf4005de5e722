"""optuna-dashboard with our panels and pages."""
