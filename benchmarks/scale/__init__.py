"""What a training on many chips needs, computed from measurements on CPUs, compiled programs and data sheets."""
