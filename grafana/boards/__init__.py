"""What each dashboard shows; the order of the lines is the order on the screen."""
