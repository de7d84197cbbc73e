"""What the platform must do for its users, over HTTP, whatever engine its model servers run on."""
