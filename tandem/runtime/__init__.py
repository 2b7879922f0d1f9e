"""What every process of Tandem starts with: settings, logs, metrics, signals, ids."""
