"""What people say about images, and what a detector learns from it.

labels.py     labels.csv, the file that report, service and `vlad review` share
"""
