"""What the pages of reports are made of: HTML, pictures as SVG, the template."""
