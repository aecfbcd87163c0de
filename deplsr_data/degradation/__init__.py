"""What happens to a photo, as data: drawn, described and applied."""
