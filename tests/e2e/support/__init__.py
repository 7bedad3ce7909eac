"""What the end-to-end tests share: servers to start, pages to read, conditions to wait for."""
