"""What lies in a folder of old programs, by reading alone: nothing is run or imported."""
