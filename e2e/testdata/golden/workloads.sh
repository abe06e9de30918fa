sudo systemctl enable nginx.service
