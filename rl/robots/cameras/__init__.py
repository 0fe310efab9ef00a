"""Real cameras: RealSense by serial number, a recording or an emulator, behind one driver protocol."""
