"""Renders the Jobs: settings and parameters in, manifests out, or one line that says what to change."""
