"""How the project is wired: settings, addresses and the web server."""
