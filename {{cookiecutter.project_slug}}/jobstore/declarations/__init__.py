"""From @scheduled functions to stored jobs: found, validated, brought in line."""
