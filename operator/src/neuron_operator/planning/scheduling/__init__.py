"""Who lets the pods of a job start: one module per scheduler, behind `adapter.GangSchedulerAdapter`. Pure, too."""
